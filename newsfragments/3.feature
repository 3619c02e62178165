A pair of peers stays connected by the best way there is: directly, by SSH, or by WebSocket and through proxies, and moves back up when a better one becomes possible.
