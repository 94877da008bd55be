"""The keys of one start: API keys old and new, the secret and the signing key of user tokens."""

from __future__ import annotations

import json
import secrets
import time
import uuid
from dataclasses import dataclass, field
from functools import cached_property
from hmac import compare_digest
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

Claims = dict[str, Any]
_YEARS = 10 * 365 * 86400
AUDIENCE = "authenticated"


@dataclass(frozen=True)
class Keys:
    """Random at each start, so that no key of a local stack is ever worth keeping."""

    issuer: str
    key_id: str
    publishable: str = field(repr=False)
    secret: str = field(repr=False)
    anon: str = field(repr=False)
    service_role: str = field(repr=False)
    jwt_secret: str = field(repr=False)
    signing_pem: str = field(repr=False)

    @classmethod
    def make(cls, issuer: str) -> Keys:
        jwt_secret = secrets.token_urlsafe(40)

        def legacy(role: str) -> str:
            now = int(time.time())
            claims = {"iss": "supabase", "ref": "local", "role": role, "iat": now, "exp": now + _YEARS}
            return jwt.encode(claims, jwt_secret, "HS256")

        pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return cls(
            issuer=issuer,
            key_id=str(uuid.uuid4()),
            publishable=f"sb_publishable_{secrets.token_urlsafe(24)}",
            secret=f"sb_secret_{secrets.token_urlsafe(24)}",
            anon=legacy("anon"),
            service_role=legacy("service_role"),
            jwt_secret=jwt_secret,
            signing_pem=pem.decode(),
        )

    @cached_property
    def _signing_key(self) -> ec.EllipticCurvePrivateKey:
        key = load_pem_private_key(self.signing_pem.encode(), password=None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return key

    def jwks(self) -> dict[str, Any]:
        public = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(self._signing_key.public_key()))
        return {"keys": [{**public, "kid": self.key_id, "alg": "ES256", "use": "sig", "key_ops": ["verify"]}]}

    def role_of(self, key: str) -> str | None:
        """The role that one of the four API keys stands for."""
        roles = {
            self.publishable: "anon",
            self.secret: "service_role",
            self.anon: "anon",
            self.service_role: "service_role",
        }
        return next((role for known, role in roles.items() if compare_digest(known.encode(), key.encode())), None)

    def sign_user(self, user_id: str, lifetime: float = 3600, **claims: Any) -> str:
        """An access token as Auth issues it; `claims` win over what would stand there."""
        now = int(time.time())
        usual = {
            "iss": self.issuer,
            "sub": user_id,
            "aud": AUDIENCE,
            "role": "authenticated",
            "iat": now,
            "exp": int(now + lifetime),
            "aal": "aal1",
            "is_anonymous": False,
        }
        return jwt.encode({**usual, **claims}, self._signing_key, "ES256", headers={"kid": self.key_id})

    def sign_url(self, claims: Claims, lifetime: float) -> str:
        """The token of a signed URL. Storage signs with a key of its own: such a token opens nothing else."""
        now = int(time.time())
        return jwt.encode({**claims, "iat": now, "exp": int(now + lifetime)}, self._url_secret, "HS256")

    def verify_url(self, token: str) -> Claims:
        """Raises `jwt.PyJWTError`."""
        claims: Claims = jwt.decode(token, self._url_secret, ["HS256"])
        return claims

    @property
    def _url_secret(self) -> str:
        return f"storage-url:{self.jwt_secret}"

    def verify(self, token: str) -> Claims:
        """The claims of a user token or a legacy key. Signature, expiry and audience are checked.

        Raises `jwt.PyJWTError`.
        """
        algorithm = jwt.get_unverified_header(token).get("alg")
        claims: Claims
        if algorithm == "ES256":
            claims = jwt.decode(token, self._signing_key.public_key(), ["ES256"], options={"verify_aud": False})
        elif algorithm == "HS256":
            claims = jwt.decode(token, self.jwt_secret, ["HS256"], options={"verify_aud": False})
        else:
            raise jwt.InvalidAlgorithmError(f"Tokens signed with {algorithm} are not accepted.")
        audience = claims.get("aud", AUDIENCE)
        if AUDIENCE not in (audience if isinstance(audience, list) else [audience]):
            raise jwt.InvalidAudienceError("The token is meant for another audience.")
        return claims
