"""An alert as a mail."""

import os
import smtplib
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from email.message import EmailMessage
from email.utils import formatdate, make_msgid

from interp_assets.config.alerts import EmailSettings
from interp_assets.domain.prompting.rendering import visible
from resources.secrets import Secrets

LONGEST_SUBJECT = 200


def mail(settings: EmailSettings, subject: str, message: str, wait: float) -> None:
    """Mail an alert, waiting `wait` seconds for a byte of the server. Raises ConnectionError with the server's words and the next step
    where not every addressee gets the mail, ValueError without a password."""
    password = os.environ.get(settings.password_env) if settings.user is not None else None
    if settings.user is not None and password is None:
        raise ValueError(f"the environment variable {settings.password_env} is not set where this process runs")
    with _readable_errors(settings, password, wait):
        server = _connected(settings, wait)
        try:
            if settings.user is not None and password is not None:
                server.login(settings.user, password)
            refused = server.send_message(_written(settings, subject, message))
            with suppress(OSError):  # the mail is taken; whatever the server says now changes nothing (smtplib's errors are OSErrors)
                server.quit()
        finally:
            server.close()
    if refused:
        raise ConnectionError(f"the server refused {len(refused)} of {len(settings.to)} addresses: {_refusals(refused)}")


def _connected(settings: EmailSettings, wait: float) -> smtplib.SMTP:
    context = ssl.create_default_context()
    if settings.security == "tls":
        return smtplib.SMTP_SSL(settings.host, settings.port, timeout=wait, context=context)
    server = smtplib.SMTP(settings.host, settings.port, timeout=wait)
    try:
        if settings.security == "starttls":
            server.starttls(context=context)
    except BaseException:
        server.close()
        raise
    return server


def _written(settings: EmailSettings, subject: str, message: str) -> EmailMessage:
    """The mail. Without a date and an id, many servers take a mail for spam."""
    mail = EmailMessage()
    mail["From"], mail["To"] = settings.sender, ", ".join(settings.to)
    mail["Subject"] = " ".join(f"interp: {subject}".split())[:LONGEST_SUBJECT]
    mail["Date"] = formatdate()
    mail["Message-ID"] = make_msgid(domain=settings.sender.rpartition("@")[2].encode("idna").decode())
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(message)
    return mail


@contextmanager
def _readable_errors(settings: EmailSettings, password: str | None, wait: float) -> Iterator[None]:
    """A block whose errors say what the server said, without the password, and what to do."""
    place = f"{settings.host}:{settings.port}"
    secrets = Secrets((password,) if password else ())

    def hide(said: str) -> str:
        return visible(secrets.hide(said))

    try:
        yield
    except ssl.SSLCertVerificationError as error:
        raise ConnectionError(
            f"the certificate of {place} is not trusted ({error.verify_message}); where it is your own, set SSL_CERT_FILE to the file "
            "of its authority"
        ) from None
    except ssl.SSLError as error:
        raise ConnectionError(f"{place} does not begin with TLS ({error.reason}); write security: starttls, or another port") from None
    except smtplib.SMTPRecipientsRefused as error:
        raise ConnectionError(f"the server refused all {len(settings.to)} addresses: {hide(_refusals(error.recipients))}") from None
    except smtplib.SMTPResponseException as error:
        said = error.smtp_error.decode(errors="replace") if isinstance(error.smtp_error, bytes) else str(error.smtp_error)
        did = f"refused the login of {settings.user}" if isinstance(error, smtplib.SMTPAuthenticationError) else "answered"
        raise ConnectionError(f"{place} {did}: {error.smtp_code} {hide(said)}") from None
    except smtplib.SMTPNotSupportedError as error:
        step = "; write security: tls, or none for a server on this machine" if "STARTTLS" in str(error) else ""
        raise ConnectionError(f"{place}: {hide(str(error))}{step}") from None
    except smtplib.SMTPServerDisconnected as error:
        raise ConnectionError(f"{place} closed the connection: {hide(str(error))}{_implicit(settings)}") from None
    except TimeoutError:
        raise ConnectionError(f"{place} was silent for {wait:g} s{_implicit(settings)}") from None
    except OSError as error:
        raise ConnectionError(f"{place}: {hide(str(error))}") from None
    except UnicodeError:
        raise ConnectionError(
            f"{place} takes no letters beyond ASCII in a name, a password or an address; one of {settings.user}, {settings.password_env}, "
            f"{settings.sender}, {', '.join(settings.to)} has them"
        ) from None


def _implicit(settings: EmailSettings) -> str:
    """What to do where a server that begins with TLS was spoken to in plain."""
    return "; port 465 begins with TLS: write security: tls" if settings.port == 465 and settings.security != "tls" else ""


def _refusals(refused: dict[str, tuple[int, bytes]]) -> str:
    return "; ".join(f"{address}: {code} {reason.decode(errors='replace')}" for address, (code, reason) in refused.items())
