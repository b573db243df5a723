"""What a fleet does under a load, minute by minute: a discrete-event model of gateways, encoders and decoders."""
