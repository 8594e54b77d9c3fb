"""What developers run now and then: not part of what is installed."""
