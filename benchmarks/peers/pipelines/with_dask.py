from distributed import Client, LocalCluster
from pages import NUMBERS, fetch, parse

if __name__ == "__main__":
    with LocalCluster(n_workers=2, threads_per_worker=2) as cluster, Client(cluster) as client:
        print(sum(client.gather(client.map(parse, client.map(fetch, NUMBERS)))))
