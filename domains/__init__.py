"""Applications of separable neural architectures; each domain is driven by the library and knows no other domain."""
