// ws-api by HTTP and JSON, on the host that this page came from.

/** Calls a method such as "ClientService/CountClients"; an error has `code` and the answer's text. */
export async function call(method, request) {
  const response = await fetch(`/holdfast.v1.${method}`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(request),
    signal: AbortSignal.timeout(70_000),
  });
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw Object.assign(new Error(answer.message ?? `status ${response.status}`), { code: answer.code ?? String(response.status) });
  return answer;
}

export const count = async (target) => {
  // proto3 JSON leaves zeros out and writes 64-bit numbers as texts.
  const { clients = 0, users = 0 } = await call('ClientService/CountClients', { target });
  return { clients: Number(clients), users: Number(users) };
};

/** The processes that there are. */
export async function listNodes() {
  const response = await fetch('/console/nodes', { signal: AbortSignal.timeout(10_000) });
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(answer.message ?? `status ${response.status}`);
  return answer.nodes;
}

const quoted = (text) => `'${text.replaceAll("'", String.raw`'\''`)}'`;

/** The command that makes the same call. */
export const command = (method, request) => `curl ${location.origin}/holdfast.v1.${method} -d ${quoted(JSON.stringify(request))}`;
