"""Framing: find the records in the text of files, which may be lines, documents or pages."""
