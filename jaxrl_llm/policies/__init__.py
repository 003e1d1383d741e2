"""What is trained: policies, how they act and what they say of actions."""
