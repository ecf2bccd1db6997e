"""An agent at an order desk: it looks orders up, cancels them and pays back, by tools on a real database.

A turn is one request, however many calls it takes; a conversation keeps the prompt it began with; and whether the
customer got what they came for, by the database, takes a prompt back that never comes to an end.
"""
