//! Generates a client of etcd's API from the same file as the store on etcd.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = "../crates/etcd/proto";
    println!("cargo:rerun-if-changed={directory}");
    let descriptors = protox::compile(["etcd.proto"], [directory])?;
    tonic_prost_build::configure()
        .build_server(false)
        .build_transport(false)
        .compile_fds(descriptors)?;
    Ok(())
}
