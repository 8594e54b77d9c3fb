"""The past of the topics, as a bounded log that is read directly: from Kafka, from archive files, or from both."""
