"""Search: views kept in Elasticsearch through the outbox. `text`, `sortable` and `document` are the reader's, too."""
