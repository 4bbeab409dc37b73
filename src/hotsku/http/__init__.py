"""The gateway: the HTTP interface, its server processes, and what they tell of themselves."""
