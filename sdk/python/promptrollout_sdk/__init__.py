"""Serve prompts that are rolled out step by step.

rollout = PromptRollout.from_directory("/etc/prompts/support-answer", default="You are a support agent.")
a = rollout.assign(unit=conversation_id, pin=stored_pin)
with a.request() as r:
    answer = call_model(a.render(question=question), model=a.model, **a.parameters)
    r.tokens(input=…, output=…)
a.score("helpfulness", 0.8)
"""

from promptrollout_sdk.assignment import Assignment
from promptrollout_sdk.errors import PayloadError
from promptrollout_sdk.late import Judge
from promptrollout_sdk.payload import Contract
from promptrollout_sdk.prompt import Message, Part
from promptrollout_sdk.request import Request
from promptrollout_sdk.rollout import PromptRollout

__version__ = "0.1.0"
__all__ = ["Assignment", "Contract", "Judge", "Message", "Part", "PayloadError", "PromptRollout", "Request"]
