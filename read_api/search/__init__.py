"""`GET /v1/<path>/search`: one question, answered alike by Elasticsearch and by Postgres."""
