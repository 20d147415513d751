"""The front of Amazon RDS that takes a token in place of a password, over TLS alone.

Behind it is a real PostgreSQL that trusts its connections. The wire protocol:
https://www.postgresql.org/docs/current/protocol-message-formats.html
"""

from __future__ import annotations

import asyncio
import ssl
import struct
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.proxy import ADDRESS, Loop, Proxy, pump

SSL_REQUEST: Final = struct.pack("!ii", 8, 80877103)
ASK_FOR_PASSWORD: Final = b"R" + struct.pack("!ii", 8, 3)


class RdsFront(Proxy):
    """Asks each client for a token in clear text, and then passes its session to the server.

    Attributes
    ----------
    tokens
        The tokens that were given, in order.
    """

    def __init__(self, loop: Loop, upstream: int, folder: Path) -> None:
        self.tokens: list[str] = []
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(write_certificate(folder))
        super().__init__(loop, upstream)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (request := await reader.readexactly(8)) != SSL_REQUEST:
            writer.write(b"N")  # it asked for GSSAPI
        del request
        writer.write(b"S")
        await writer.start_tls(self._tls)
        length = await reader.readexactly(4)
        startup = length + await reader.readexactly(int.from_bytes(length) - 4)
        writer.write(ASK_FOR_PASSWORD)
        await writer.drain()
        assert await reader.readexactly(1) == b"p"
        size = int.from_bytes(await reader.readexactly(4))
        self.tokens.append((await reader.readexactly(size - 4)).rstrip(b"\0").decode())
        with self._reach(await asyncio.open_connection(ADDRESS, self._upstream)) as (answer, to):
            to.write(startup)
            ends = [
                asyncio.ensure_future(pump(reader, to)),
                asyncio.ensure_future(pump(answer, writer)),
            ]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            for end in ends:
                end.cancel()
            await asyncio.gather(*ends, return_exceptions=True)


def write_certificate(folder: Path) -> Path:
    """Write a key and a certificate that it signs itself into a file; return its path."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "rds")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + timedelta(hours=1))
        .sign(key, hashes.SHA256())
    )
    path = folder / "rds.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return path
