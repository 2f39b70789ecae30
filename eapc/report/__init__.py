"""Results as tables for people, JSON documents and CSV rows: functions from results to text."""
