"""`hotsku replay`: an order log, sold again."""
