"""A chat whose answers are streamed: what counts is when the first word comes, and whether people stay until the last.

A prompt that makes the model think first is taken back for the time to the first token, one that makes it ramble for
the answers that people walk away from. Who walks away is no error of the service, and is not counted as one.
"""
