"""Decode: turn records into typed orders, rejections and issues."""
