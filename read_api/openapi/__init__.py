"""The OpenAPI document: what can be asked, what is answered, and both together for each view."""
