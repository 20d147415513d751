"""Files to records: newline-delimited text, documents, pages."""
