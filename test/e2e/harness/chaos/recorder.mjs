// What comes of clients' events: a backend that is called, and a group of subscribers
// that reads them from streams.
import { StubBackend, argsOf, connectEvent, disconnectEvent } from '../backend.mjs';
import { Stream } from '../streams.mjs';

/** Events in the order of their coming: {id, kind, who, connection, n, at}. */
export class Recorder {
  called = [];
  read = [];
  came = []; // CONNECTs: {id, name, client}
  gone = []; // DISCONNECTs
  slow = 0; // ms that the backend takes for an answer

  static async start(roomsOf, now) {
    const recorder = new Recorder();
    Object.assign(recorder, { roomsOf, now });
    recorder.backend = await StubBackend.start();
    recorder.backend.server.keepAliveTimeout = 60_000; // a connection that ends just as it is used again is none of the faults here
    recorder.backend.events.put = () => {}; // they are many, and kept here
    recorder.backend.requests.push = () => {};
    recorder.backend.handle = (event) => recorder.#handle(event);
    return recorder;
  }

  async #handle(event) {
    const entry = this.#entry(event);
    if (event.type === connectEvent) {
      const name = event.query?.name ?? JSON.parse(event.auth).name;
      this.came.push({ ...entry, who: name });
      if (this.slow) await new Promise((resolve) => setTimeout(resolve, this.slow));
      return { uid: name, joinRooms: this.roomsOf(name), profile: JSON.stringify({ name }) };
    }
    if (event.type === disconnectEvent) this.gone.push({ ...entry, reason: event.reason });
    else this.called.push(entry);
    if (this.slow) await new Promise((resolve) => setTimeout(resolve, this.slow));
    return entry.kind === 'asked' ? { ack: { json: JSON.stringify([entry.n]) } } : {};
  }

  #entry(event) {
    const [connection, n] = event.payload ? argsOf(event.payload) : [];
    return { id: event.id, kind: event.event, who: event.client.uid, client: event.client.id, connection, n, at: this.now() };
  }

  /** Reads `kept` and `asked` as a group of one subscriber, which goes elsewhere when its stream breaks. */
  subscribe(site) {
    let turn = 0;
    this.reading = (async () => {
      while (!this.stopped) {
        const apis = site.of('api');
        const stream = new Stream(apis[turn++ % apis.length].running.url, 'EventService/Subscribe', ({ event }) => {
          this.read.push(this.#entry(event));
          if (!stream.over) stream.send({ eventId: event.id });
        });
        this.stream = stream;
        stream.send({ group: 'recorder', events: ['kept', 'asked'], types: ['EVENT_TYPE_MESSAGE'], maxInFlight: 64 });
        await stream.ended;
        stream.over = true;
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    })();
  }

  async stop() {
    this.stopped = true;
    this.stream?.abandon();
    await this.reading;
    await this.backend.stop();
  }
}
