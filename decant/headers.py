"""What a visitor may claim in headers and a proxy must not pass on.

An application, or its framework, would believe that the proxy said it.
"""

# Beside X-Real-IP, X-Forwarded-For, -Proto and -Host, which the proxy sets itself. The last one
# carries the one-time token of a health check.
CLAIMS = (
    "Forwarded",
    "Forwarded-For",
    "Front-End-Https",
    "Proxy",
    "Remote-User",
    "X-Authenticated-User",
    "X-Client-IP",
    "X-Forwarded",
    "X-Forwarded-By",
    "X-Forwarded-Path",
    "X-Forwarded-Port",
    "X-Forwarded-Prefix",
    "X-Forwarded-Protocol",
    "X-Forwarded-Scheme",
    "X-Forwarded-Server",
    "X-Forwarded-Ssl",
    "X-Forwarded-Uri",
    "X-Forwarded-User",
    "X-Host",
    "X-HTTP-Host-Override",
    "X-Original-Host",
    "X-Original-URL",
    "X-Original-URI",
    "X-Remote-User",
    "X-Rewrite-URL",
    "X-Scheme",
    "X-Script-Name",
    "X-Url-Scheme",
    "X-Decant-Probe",
)
