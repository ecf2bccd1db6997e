"""Answers from a shop's help pages: search words, a search, an answer from what was found, and a judge elsewhere.

Prompts that belong together are rolled out together; an answer that its passages do not carry, and a search that finds
nothing, take them back.
"""
