"""Parts of bench.serve: the service's store and process, and the devices that ask it."""
