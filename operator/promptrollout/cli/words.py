"""The verbs: what a rollout can be told."""

#: Each verb of the API and what `--help` says of it.
VERBS = {
    "promote": "Go to the next step at once; from the last step, promote.",
    "promote-full": "Promote the candidate in full, whatever the evidence.",
    "abort": "Roll the candidate back; it stays so until the prompt changes or someone says retry.",
    "retry": "Try the revision that was rolled back again, from step 1.",
    "pause": "Hold the weight; harm still rolls back.",
    "resume": "Go on after a pause.",
    "approve": "Pass the approval gate that the rollout waits at.",
    "skip": "Leave out the gate that the rollout waits at.",
    "undo": "Go back to the revision before.",
}
