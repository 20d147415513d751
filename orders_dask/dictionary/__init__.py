"""Descriptions of what people read: a data dictionary, a diagram, and files for dbt and ODCS."""
