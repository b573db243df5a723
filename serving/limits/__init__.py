"""What one tenant may use: counted where it is used, across gateways, and refused with the time to come back."""
