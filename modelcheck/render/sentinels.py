"""The contents of the messages that templates are rendered with: where one is in the text, its message went."""

USER, ASSISTANT, SYSTEM = "ZQ1", "ZA1", "ZS1"
NEXT_USER, NEXT_ASSISTANT = "ZQ2", "ZA2"
