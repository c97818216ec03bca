"""All recorded tables beside the paper's figures: `python -m bench.paper report`."""
