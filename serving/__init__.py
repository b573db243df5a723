"""The HTTP surface: wire schemas, routes, media intake, the chat pipeline, and the seams behind them."""
