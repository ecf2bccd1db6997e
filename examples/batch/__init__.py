"""A nightly job: product descriptions become attributes, item by item, and a new prompt is tried over several runs.

Each run leaves its counts in a Pushgateway, under a group of its own. Answers that are not the JSON they should be take
the prompt back.
"""
