"""The read API: what the declared views hold, over HTTP, by a role that can only read."""
