"""What our forecasters are compared with, each as good as we can make it."""
