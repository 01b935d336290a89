"""The inverse problem: inputs that explain what was observed."""
