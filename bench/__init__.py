"""Measurements of Prejoin beside peers and limits, in the same run on the same servers: see README.md here."""
