"""Processes of a stack: started, watched and, whatever happens to their owner, ended."""
