"""rtnetlink messages as frozen values: what they say (`messages`) and how they read (`text`)."""
