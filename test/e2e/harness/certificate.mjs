// A self-signed certificate for 127.0.0.1 and localhost, made by the openssl command.
import { execFileSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Files cert and key in a folder of their own; renew() puts another pair in their place. */
export class Certificate {
  constructor() {
    this.dir = mkdtempSync(join(tmpdir(), 'holdfast-e2e-tls-'));
    this.cert = join(this.dir, 'cert.pem');
    this.key = join(this.dir, 'key.pem');
    this.renew();
  }

  renew() {
    const [cert, key] = [`${this.cert}.new`, `${this.key}.new`];
    execFileSync('openssl', [
      ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '1'],
      ...['-subj', '/CN=localhost', '-addext', 'subjectAltName=IP:127.0.0.1,DNS:localhost', '-keyout', key, '-out', cert],
    ], { stdio: 'pipe' });
    renameSync(key, this.key);
    renameSync(cert, this.cert);
    this.pem = readFileSync(this.cert, 'utf8');
    this.fingerprint = new X509Certificate(this.pem).fingerprint256;
  }

  remove() {
    rmSync(this.dir, { recursive: true, force: true });
  }
}
