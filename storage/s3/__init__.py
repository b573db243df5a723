"""The object store on a server that speaks S3. Only this package imports boto3.

``store`` is the object store; ``connection`` talks to the server, ``multipart`` and ``reader`` move large objects,
``probe`` and ``lifecycle`` look after the bucket.
"""
