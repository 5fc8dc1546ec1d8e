"""`separable serve`: whatever a folder holds, answering over HTTP."""
