"""What tests share: real servers, and the scripts that test processes run."""
