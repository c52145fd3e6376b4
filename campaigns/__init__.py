"""Campaigns: long searches for wrong results, run by hand."""
