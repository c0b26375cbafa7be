"""What instruments a program: context manager, decorator, command wrapper, logging handler."""
