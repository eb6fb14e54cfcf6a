//! Compiles the message definitions under `proto/` without a system `protoc`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = ["etcdserverpb.proto", "v3lock.proto", "v3election.proto", "raftpb.proto", "peer.proto"];
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(files, ["proto"])?;
    prost_build::Config::new().bytes(["."]).compile_fds(descriptors)?;
    Ok(())
}
