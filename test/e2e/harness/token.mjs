// HS256 tokens, made by hand so that the suite does not trust holdfast's own maker.
import { createHmac } from 'node:crypto';

const encode = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');

export function makeToken(secret, claims, header = {}) {
  const text = `${encode({ alg: 'HS256', typ: 'JWT', ...header })}.${encode(claims)}`;
  return `${text}.${createHmac('sha256', secret).update(text).digest('base64url')}`;
}

export const inSeconds = (seconds) => Math.floor(Date.now() / 1000) + seconds;
