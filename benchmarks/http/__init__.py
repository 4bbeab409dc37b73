"""What an order costs over HTTP: see README.md."""
