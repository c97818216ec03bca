"""What tests share: small networks and students, teachers, graphs, folders, oracles."""
