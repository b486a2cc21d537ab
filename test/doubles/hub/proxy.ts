/**
 * A stand-in for a company's proxy: tunnels every CONNECT, whatever host it names, to one port of
 * this machine, and notes what was asked for.
 */
import { createServer, type Server } from "node:http";
import { type AddressInfo, connect, type Socket } from "node:net";
import { listen } from "./double.ts";

export class ProxyDouble {
  readonly tunnels: string[] = [];
  /** Answer every CONNECT with this status in place of a tunnel. */
  refuseWith: number | null = null;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(targetPort: number) {
    this.#server = createServer((_, response) => response.writeHead(405).end());
    this.#server.on("connection", (socket) => this.#sockets.add(socket));
    this.#server.on("connect", (request, client: Socket) => {
      this.tunnels.push(request.url ?? "");
      client.on("error", () => {});
      if (this.refuseWith !== null) {
        client.end(`HTTP/1.1 ${this.refuseWith} No\r\n\r\n`);
        return;
      }
      const server = connect(targetPort, "127.0.0.1", () => {
        client.write("HTTP/1.1 200 OK\r\n\r\n");
        client.pipe(server).pipe(client);
      });
      server.on("error", () => client.destroy());
      this.#sockets.add(server);
    });
  }

  static async start(targetPort: number): Promise<ProxyDouble> {
    const proxy = new ProxyDouble(targetPort);
    await listen(proxy.#server);
    return proxy;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((done) => this.#server.close(done));
  }
}
