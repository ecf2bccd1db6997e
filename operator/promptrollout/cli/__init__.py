"""`kubectl promptrollout`: look at rollouts, command them, plan and simulate them, and replay what they decided."""
