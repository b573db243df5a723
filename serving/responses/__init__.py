"""OpenAI's Responses API over the chat pipeline: items to messages and back, its events, stored conversations."""
