"""An OpenAI-compatible HTTP server for Florence-2: see `server`."""
